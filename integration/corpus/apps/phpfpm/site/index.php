<?php
// A counter in a database file.
$db = new PDO('sqlite:/tmp/counter.db');
$db->exec('CREATE TABLE IF NOT EXISTS visit (who TEXT, at TEXT)');
$db->prepare('INSERT INTO visit VALUES (?, ?)')->execute([$_GET['who'] ?? 'nobody', date('c')]);
header('Content-Type: application/json');
echo json_encode([
    'who' => $_GET['who'] ?? 'nobody',
    'visits' => (int) $db->query('SELECT count(*) FROM visit')->fetchColumn(),
    'zone' => date_default_timezone_get(),
    'posted' => $_SERVER['REQUEST_METHOD'] === 'POST' ? file_get_contents('php://input') : null,
]);
