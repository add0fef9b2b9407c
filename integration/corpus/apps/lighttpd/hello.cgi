#!/usr/bin/perl
use strict;
use warnings;

print "Content-Type: text/plain\r\n\r\n";
printf "%s asked for %s\n", $ENV{REQUEST_METHOD}, $ENV{QUERY_STRING};
