<?php
// A picture in the format that the visitor asks for.
$image = imagecreatetruecolor(40, 30);
imagefilledrectangle($image, 5, 5, 20, 20, imagecolorallocate($image, 200, 30, 30));
$format = $_GET['format'] ?? 'png';
$write = ['png' => 'imagepng', 'jpeg' => 'imagejpeg', 'webp' => 'imagewebp', 'gif' => 'imagegif'][$format];
header("Content-Type: image/$format");
$write($image);
