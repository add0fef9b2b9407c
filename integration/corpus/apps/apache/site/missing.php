<?php
http_response_code(404);
echo 'no such page: ', htmlspecialchars($_SERVER['REDIRECT_URL'] ?? '');
