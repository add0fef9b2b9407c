package installs

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

func parse(dt string, args map[string]string) (Dockerfile, error) {
	parsed, err := parser.Parse(bytes.NewReader([]byte(dt)))
	if err != nil {
		return Dockerfile{}, err
	}
	stages, metaArgs, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		return Dockerfile{}, err
	}
	return Dockerfile{Args: metaArgs, Stages: stages, Escape: parsed.EscapeToken, BuildArgs: args}, nil
}

func TestPackages(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		args     map[string]string
		want     string
	}{
		{"none", "FROM a\nRUN echo install nginx", nil, ""},
		{"apt", "FROM a\nRUN apt-get update && apt-get install -y --no-install-recommends nginx=1.2-3 libssl3:amd64 curl/bookworm-backports g++ && rm -rf /x", nil, "curl g++ libssl3 nginx"},
		{"options with values", "FROM a\nRUN apt-get -o Dpkg::Use-Pty=0 -qq install -t bookworm-backports -y vim", nil, "vim"},
		{"other verbs", "FROM a\nRUN apt-get remove vim; apt-get update; apt list install; apt-get build-dep x; apk del y", nil, ""},
		{"removal, task, pattern, file", "FROM a\nRUN apt-get install vim- standard^ 'lib*' ./a_1.0_amd64.deb /tmp/x ok", nil, "a ok"},
		{"environment before", "FROM a\nRUN DEBIAN_FRONTEND=noninteractive apt install -y nginx", nil, "nginx"},
		{"wrappers", "FROM a\nRUN sudo -E -u root apt-get install a1; env X=1 apt-get install b1; timeout -k 5 10 apt-get install c1; exec apt-get install d1", nil, "a1 b1 c1 d1"},
		{"full path", "FROM a\nRUN /usr/bin/apt-get install nginx", nil, "nginx"},
		{"line continuation and comments", "FROM a\nRUN set -eux; \\\n  apt-get install -y \\\n  # why\n  nginx \\\n  \"curl\" \\\n  'jq'", nil, "curl jq nginx"},
		{"control flow", "FROM a\nRUN if [ -f /x ]; then apt-get install a1; else (apt-get install b1 || true); fi; for p in c1 c2; do apt-get install $p; done; f() { apt-get install d1; }; f", nil, "a1 b1 c1 c2 d1"},
		{"shell in shell", "FROM a\nRUN bash -exo pipefail -c 'apt-get install -y nginx'; sh -c \"sh -c 'apt-get install vim'\"; eval \"apt-get install jq\"", nil, "jq nginx vim"},
		{"exec form", `FROM a
RUN ["apt-get", "install", "-y", "nginx"]
RUN ["sh", "-c", "apk add vim"]`, nil, "nginx vim"},
		{"here-document", "FROM a\nRUN <<EOF\nset -e\napt-get install nginx\nEOF", nil, "nginx"},
		{"here-document as data", "FROM a\nRUN cat <<EOF > /x && apt-get install vim\napt-get install nginx\nEOF", nil, "vim"},
		{"arguments and environment", "ARG TAIL=z\nFROM a\nARG P=nginx\nARG Q\nARG TAIL\nENV R=\"r1 r2\" S=${P}-extras\nRUN apt-get install $P $Q ${R} $S ${TAIL} \"${U:-u1}\" ${P:0:1}", map[string]string{"Q": "q1"}, "nginx nginx-extras q1 r1 r2 u1 z"},
		{"shell variables", "FROM a\nRUN PKGS='a1 b1'; PKGS=\"$PKGS c1\"; apt-get install $PKGS\nRUN l=(d1 e1); l+=(f1); apt-get install \"${l[@]}\"", nil, "a1 b1 c1 d1 e1 f1"},
		{"unknown values", "FROM a\nRUN apt-get install $(cat list) `cat list` $UNKNOWN x$(y) vim", nil, "vim"},
		{"before a syntax error", "FROM a\nRUN apt-get install vim\nRUN apt-get install nginx; echo ((( ", nil, "nginx vim"},
		{"parents but not copies", "FROM base AS one\nRUN apt-get install a1\nFROM other AS two\nRUN apt-get install b1\nFROM one\nCOPY --from=two / /\nRUN apt-get install c1", nil, "a1 c1"},
		{"parent by argument", "ARG B=one\nFROM base AS one\nRUN apt-get install a1\nFROM ${B}\nENV X=1", nil, "a1"},
		{"parent of the same name", "FROM debian AS debian\nRUN apt-get install a1\nFROM debian AS debian\nRUN apt-get install b1", nil, "a1 b1"},
		{"variables of parents", "FROM a AS one\nENV P=nginx\nFROM one\nRUN apt-get install $P", nil, "nginx"},
		{"apk", "FROM a\nRUN apk --no-cache add -U --virtual .deps --repository http://x/y nginx=1.2 php~8 'curl>7' lua@edge !vim so:libc.so ./x-1.0-r1.apk", nil, "curl lua nginx php x"},
		{"dnf", "FROM a\nRUN dnf -y --setopt install_weak_deps=0 --repo extra install nginx.x86_64 java-11-openjdk nodejs:18 @dev 'perl(Foo)' https://h/x/app-1.0-2.noarch.rpm && microdnf install -y tar && tdnf install -y jq && yum -y install vim", nil, "app java-11-openjdk jq nginx nodejs tar vim"},
		{"zypper", "FROM a\nRUN zypper -n --gpg-auto-import-keys in -r repo --no-recommends nginx vim=1.2 && zypper install jq", nil, "jq nginx vim"},
		{"aptitude", "FROM a\nRUN aptitude -y install nginx+ vim", nil, "nginx vim"},
		{"onbuild", "FROM a\nONBUILD RUN apt-get install nginx", nil, ""},
		{"escape character", "# escape=`\nFROM a\nRUN apt-get install `\n  nginx", nil, "nginx"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := parse(tt.in, tt.args)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(Packages(d, len(d.Stages)-1), " ")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestPackagesBounded gives scripts that would exhaust a naive reader.
func TestPackagesBounded(t *testing.T) {
	doubling := "FROM a\nRUN X=xxxxxxxxxx; " + strings.Repeat("X=$X$X; ", 60) + "apt-get install $X vim"
	many := "FROM a\nRUN X=" + strings.Repeat("x", 20000) + "; apt-get install " + strings.Repeat("$X", 2000) + " vim"
	for name, in := range map[string]string{
		"doubling": doubling, "many": many,
		"brackets":      "FROM a\nRUN " + strings.Repeat("(", maxScript-20),
		"substitutions": "FROM a\nRUN " + strings.Repeat("$(", maxScript/2-20),
		"groups":        "FROM a\nRUN " + strings.Repeat("{ ", maxScript/2-20),
		"arithmetic":    "FROM a\nRUN echo $((" + strings.Repeat("(", maxScript-20),
		"conditions":    "FROM a\nRUN " + strings.Repeat("if ", maxScript/3-20),
		"braces":        "FROM a\nRUN apt-get install {1..99999999}{1..99999999}",
	} {
		d, err := parse(in, nil)
		if err != nil {
			t.Fatal(name, err)
		}
		got := strings.Join(Packages(d, 0), " ")
		if want := map[string]string{"doubling": "vim", "many": "vim"}[name]; got != want {
			t.Errorf("%s: got %.80q, want %q", name, got, want)
		}
	}
}

func FuzzPackages(f *testing.F) {
	f.Add("FROM a\nARG X=1\nENV Y=$X\nRUN apt-get install -y nginx=$Y \"${P:-vim}\" && apk add x")
	f.Add("FROM a AS b\nRUN <<EOF\ndnf install y\nEOF\nFROM b\nRUN [\"sh\", \"-c\", \"zypper in z\"]")
	f.Add("FROM a\nRUN l=(a b); for p in ${l[@]}; do yum install $p; done; eval \"apt install `x`\"")
	f.Fuzz(func(t *testing.T, in string) {
		d, err := parse(in, map[string]string{"Q": "q"})
		if err != nil {
			return
		}
		for i := range d.Stages {
			for _, name := range Packages(d, i) {
				if !plainName.MatchString(name) {
					t.Fatalf("name %q", name)
				}
			}
		}
	})
}
