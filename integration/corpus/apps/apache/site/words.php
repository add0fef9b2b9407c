<?php
// What the international extensions make of a moment and a number.
header('Content-Type: text/plain; charset=utf-8');
$locale = $_GET['locale'] ?? 'en';
$zone = $_GET['zone'] ?? 'UTC';
$dates = new IntlDateFormatter($locale, IntlDateFormatter::FULL, IntlDateFormatter::SHORT, $zone);
echo $dates->format(1700000000), "\n";
echo (new NumberFormatter($locale, NumberFormatter::SPELLOUT))->format(42), "\n";
echo (new DateTime('@1700000000'))->setTimezone(new DateTimeZone($zone))->format('c T'), "\n";
echo bin2hex(mb_convert_encoding('日本', 'SJIS', 'UTF-8')), ' ', bin2hex(iconv('UTF-8', 'EUC-JP', '日本')), "\n";
$xml = simplexml_load_string('<a><b c="1">x</b></a>');
echo $xml->b['c'], "\n";
