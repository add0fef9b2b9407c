package App::More;

# Questions that use other modules. Each loads what it needs when it is asked.
use strict;
use warnings;
use utf8;

my %questions = (
    encodings => sub {
        require Encode;
        return join ' ', map { unpack 'H*', Encode::encode($_, '日本') } qw(shiftjis euc-jp gb2312 big5 UTF-16LE);
    },
    names => sub { require charnames; return charnames::viacode(0xDF) },
    classes => sub { return join '', grep { /\p{Script=Greek}/ } split //, 'aαbβ' },
    fold => sub { return lc('ΑΣ') . ' ' . uc('ß') . ' ' . (fc_eq('Maße', 'MASSE') ? 'same' : 'different') },
    normal => sub { require Unicode::Normalize; return length Unicode::Normalize::NFD('é') },
    collate => sub { require Unicode::Collate; return join '', Unicode::Collate->new->sort(qw(z é a)) },
    zones => sub {
        require DateTime;
        return DateTime->from_epoch(epoch => 1700000000, time_zone => 'Asia/Kathmandu')->strftime('%FT%T%z');
    },
    locales => sub {
        require DateTime;
        return DateTime->from_epoch(epoch => 1700000000, locale => 'de-AT')->strftime('%A, %d. %B');
    },
    xml => sub {
        require XML::LibXML;
        return XML::LibXML->load_xml(string => '<a><b c="1">x</b></a>')->findvalue('//b/@c');
    },
    html => sub { require HTML::Parser; require HTML::Entities; return HTML::Entities::decode('&uuml;') },
    yaml => sub { require YAML::XS; return YAML::XS::Load("a: [1, 2]\n")->{a}[1] },
    storable => sub { require Storable; return Storable::thaw(Storable::freeze([1, 2]))->[1] },
    compress => sub {
        require IO::Compress::Gzip;
        require IO::Uncompress::Gunzip;
        IO::Compress::Gzip::gzip(\'squeezed', \my $z);
        IO::Uncompress::Gunzip::gunzip(\$z, \my $plain);
        return $plain;
    },
    bzip => sub { require Compress::Raw::Bzip2; return Compress::Raw::Bzip2->VERSION > 2 ? 'yes' : 'no' },
    digests => sub { require Digest::SHA; require Digest::MD5; return substr(Digest::SHA::sha512_hex('x'), 0, 8) . substr(Digest::MD5::md5_hex('x'), 0, 8) },
    big => sub { require Math::BigInt; return Math::BigInt->new(2)->bpow(100)->bstr },
    posix => sub { require POSIX; return POSIX::strftime('%Y', gmtime 0) . ' ' . (POSIX::setlocale(&POSIX::LC_ALL, 'C.UTF-8') // 'none') },
    user => sub { return (getpwuid $>)[0] },
    host => sub { require Socket; return Socket::inet_ntoa(Socket::inet_aton('localhost')) },
    shell => sub { my $out = `echo from \$0`; chomp $out; return $out },
    fetch => sub {
        require LWP::UserAgent;
        return LWP::UserAgent->new(timeout => 2)->get('http://127.0.0.1:1/')->code;
    },
    temp => sub { require File::Temp; my $f = File::Temp->new; print $f 'x'; return -e $f->filename ? 'made' : 'no' },
    find => sub { require File::Find; my $n = 0; File::Find::find(sub { $n++ }, '/srv/app'); return $n > 3 ? 'found' : $n },
    usage => sub { require Pod::Text; my $out; my $p = Pod::Text->new; $p->output_string(\$out); $p->parse_string_document("=head1 NAME\n\nwords\n"); return $out =~ /words/ ? 'rendered' : $out },
    dumper => sub { require Data::Dumper; local $Data::Dumper::Terse = 1; local $Data::Dumper::Indent = 0; return Data::Dumper::Dumper({ a => [1] }) },
    threads => sub { require threads; return threads->create(sub { 6 * 7 })->join },
    dbm => sub { require SDBM_File; require Fcntl; tie my %h, 'SDBM_File', '/tmp/sdbm', Fcntl::O_RDWR() | Fcntl::O_CREAT(), 0600 or die $!; $h{a} = 'kept'; return $h{a} },
    diagnostics => sub { require diagnostics; return 'loaded' },
    plugin => sub {
        require Template;
        my $out = '';
        Template->new->process(\'[% USE d = Datafile("/srv/app/templates/absent") %]', {}, \$out) and return 'no error';
        Template->new->process(\'[% USE m = Math %][% m.sqrt(16) %][% USE Dumper %]', {}, \$out) or return Template->error;
        return $out;
    },
    drivers => sub { require DBI; return join ' ', sort grep { /^(SQLite|DBM|File|Mem|CSV)$/ } DBI->available_drivers },
    memory => sub { require DBI; my $d = DBI->connect('dbi:Mem:', '', '', { RaiseError => 1 }); $d->do('CREATE TABLE t (a INTEGER)'); $d->do('INSERT INTO t VALUES (7)'); return ($d->selectrow_array('SELECT a FROM t'))[0] },
);

sub fc_eq { require feature; return CORE::fc($_[0]) eq CORE::fc($_[1]) }

sub answer {
    my ($what) = @_;
    my $question = $questions{ $what // '' } or return join ' ', sort keys %questions;
    my $answer = eval { $question->() };
    return defined $answer ? "$answer" : "error: $@";
}

1;
