#!/usr/bin/perl
# A small service: books in a database, as JSON or as a page.
use strict;
use warnings;
use utf8;
use lib '/srv/app/lib';

use App::More;
use DBI;
use HTTP::Daemon;
use HTTP::Response;
use JSON::XS;
use Template;

my $db = DBI->connect('dbi:SQLite:dbname=:memory:', '', '', { RaiseError => 1, sqlite_unicode => 1 });
$db->do('CREATE TABLE book (title TEXT, year INTEGER)');
$db->do('INSERT INTO book VALUES (?, ?)', undef, @$_) for ['Der Prozeß', 1925], ['Das Schloß', 1926];

$SIG{TERM} = sub { exit 0 };
my $daemon = HTTP::Daemon->new(LocalAddr => '0.0.0.0', LocalPort => 8080, ReuseAddr => 1) or die "listen: $@";
while (my $client = $daemon->accept) {
    while (my $request = $client->get_request) {
        my %query = $request->uri->query_form;
        my $path = $request->uri->path;
        my $response = HTTP::Response->new(200);
        if ($path eq '/books') {
            my $books = $db->selectall_arrayref('SELECT * FROM book ORDER BY year', { Slice => {} });
            $response->header('Content-Type' => 'application/json');
            $response->content(JSON::XS->new->utf8->canonical->encode($books));
        } elsif ($path eq '/page') {
            my $books = $db->selectall_arrayref('SELECT * FROM book ORDER BY year', { Slice => {} });
            my $template = Template->new(INCLUDE_PATH => '/srv/app/templates', ENCODING => 'utf8');
            my $page = '';
            $template->process('books.html', { books => $books }, \$page) or die $template->error;
            utf8::encode($page);
            $response->header('Content-Type' => 'text/html; charset=utf-8');
            $response->content($page);
        } elsif ($path eq '/more') {
            my $answer = App::More::answer($query{what});
            utf8::encode($answer);
            $response->content($answer);
        } else {
            $response->code(404);
            $response->content("no such page\n");
        }
        $client->send_response($response);
    }
    $client->close;
}
