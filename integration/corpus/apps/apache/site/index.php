<?php
// Notes in a database, shown in the visitor's language.
$db = new PDO('sqlite::memory:');
$db->exec('CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)');
$insert = $db->prepare('INSERT INTO note (body) VALUES (?)');
foreach (['first', 'Größe', 'third'] as $body) {
    $insert->execute([$body]);
}
header('Content-Type: application/json');
if (isset($_GET['id'])) {
    $select = $db->prepare('SELECT body FROM note WHERE id = ?');
    $select->execute([(int) $_GET['id']]);
    echo json_encode(['note' => $select->fetchColumn(), 'upper' => mb_strtoupper('größe')]);
} else {
    echo json_encode(['notes' => (int) $db->query('SELECT count(*) FROM note')->fetchColumn(), 'sapi' => PHP_SAPI]);
}
