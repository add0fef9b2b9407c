<?php
// What the visitor can ask for, one question a request.
$answers = [
    'zip' => function () {
        $zip = new ZipArchive();
        $zip->open('/tmp/a.zip', ZipArchive::CREATE | ZipArchive::OVERWRITE);
        $zip->addFromString('a.txt', str_repeat('words ', 100));
        $zip->close();
        $zip->open('/tmp/a.zip');
        return strlen($zip->getFromName('a.txt'));
    },
    'bz2' => fn () => bzdecompress(bzcompress('squeezed')),
    'gmp' => fn () => gmp_strval(gmp_pow(2, 100)),
    'bcmath' => fn () => bcdiv('1', '7', 20),
    'apcu' => fn () => apcu_store('k', 'kept') ? apcu_fetch('k') : 'no',
    'xsl' => function () {
        $doc = new DOMDocument();
        $doc->loadXML('<list><item>x</item></list>');
        $xsl = new DOMDocument();
        $xsl->loadXML('<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:output method="text"/><xsl:template match="/">[<xsl:value-of select="list/item"/>]</xsl:template></xsl:stylesheet>');
        $processor = new XSLTProcessor();
        $processor->importStylesheet($xsl);
        return $processor->transformToXML($doc);
    },
    'curl' => function () {
        $c = curl_init('https://127.0.0.1:1/');
        curl_setopt($c, CURLOPT_RETURNTRANSFER, true);
        curl_exec($c);
        return curl_errno($c) . ' ' . implode(' ', array_intersect(['http', 'https', 'ftp'], curl_version()['protocols']));
    },
    'mysql' => function () {
        try {
            new PDO('mysql:host=127.0.0.1;port=1', 'a', 'b');
        } catch (PDOException $e) {
            return $e->getCode();
        }
    },
    'pgsql' => fn () => @pg_connect('host=127.0.0.1 port=1 dbname=x') === false ? 'refused' : 'connected',
    'soap' => fn () => (new SoapClient(null, ['location' => 'http://127.0.0.1:1/', 'uri' => 'urn:x']))->__getLastRequest() ?? 'none',
    'session' => function () {
        session_start();
        $_SESSION['n'] = 1;
        return strlen(session_id()) > 10 ? 'started' : 'no';
    },
    'openssl' => function () {
        $sealed = openssl_encrypt('secret', 'aes-256-gcm', str_repeat('k', 32), 0, str_repeat('i', 12), $tag);
        return openssl_decrypt($sealed, 'aes-256-gcm', str_repeat('k', 32), 0, str_repeat('i', 12), $tag);
    },
    'legacy' => fn () => in_array('rc4', openssl_get_cipher_methods()) ? 'listed' : 'absent',
    'sodium' => fn () => strlen(sodium_crypto_secretbox('x', str_repeat('n', 24), str_repeat('k', 32))),
    'password' => fn () => password_verify('p', password_hash('p', PASSWORD_BCRYPT)) ? 'yes' : 'no',
    'iconv' => fn () => bin2hex(iconv('UTF-8', 'KOI8-R', 'Привет')),
    'gettext' => fn () => gettext('untranslated'),
    'zone' => fn () => (new DateTime('2024-07-01 12:00', new DateTimeZone('Asia/Kathmandu')))->format('P'),
    'shell' => fn () => trim(shell_exec('echo from $0') ?? 'none'),
    'host' => fn () => gethostbyname('localhost'),
    'user' => fn () => (string) posix_geteuid(),
    'mail' => fn () => mb_encode_mimeheader('Grüße', 'ISO-8859-1', 'Q'),
    'ftp' => fn () => function_exists('ftp_ssl_connect') ? 'built in' : 'no',
    'opcache' => fn () => opcache_get_status(false)['opcache_enabled'] ? 'on' : 'off',
    'fileinfo' => fn () => (new finfo(FILEINFO_MIME_TYPE))->buffer("\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
];
header('Content-Type: text/plain');
$what = $_GET['what'] ?? '';
if (!isset($answers[$what])) {
    http_response_code(400);
    echo implode(' ', array_keys($answers));
    return;
}
echo $answers[$what]();
