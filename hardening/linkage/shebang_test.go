package linkage

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseShebang(t *testing.T) {
	for _, c := range []struct {
		head string
		want *Shebang
	}{
		{"", nil},
		{"#", nil},
		{"#!", nil},
		{"#!\n/bin/sh", nil},
		{"#! \t \n", nil},
		{" #!/bin/sh\n", nil},
		{"\x7fELF", nil},
		{"#!/bin/sh", &Shebang{Interp: "/bin/sh"}},
		{"#!/bin/sh\necho\n", &Shebang{Interp: "/bin/sh"}},
		{"#! /bin/sh -e \n", &Shebang{Interp: "/bin/sh", Arg: "-e", Args: []string{"-e"}}},
		{"#!/usr/bin/perl\t-w -T\n", &Shebang{Interp: "/usr/bin/perl", Arg: "-w -T", Args: []string{"-w -T"}}},
		{"#!/bin/sh\x00junk\n", &Shebang{Interp: "/bin/sh"}},
		{"#!bin/tool\r\n", &Shebang{Interp: "bin/tool\r"}},
		{"#!/usr/bin/env python3\n", &Shebang{Interp: "/usr/bin/env", Arg: "python3", Program: "python3", Args: []string{}}},
		{"#!/usr/bin/env\n", &Shebang{Interp: "/usr/bin/env"}},
		// env gets one argument, and looks for a program of that name.
		{"#!/usr/bin/env python3 -u\n", &Shebang{Interp: "/usr/bin/env", Arg: "python3 -u", Program: "python3 -u", Args: []string{}}},
		{"#!/usr/bin/env -S python3 -u 'a b'\n", &Shebang{
			Interp: "/usr/bin/env", Arg: "-S python3 -u 'a b'", Program: "python3", Args: []string{"-u", "a b"},
		}},
		{"#!/usr/bin/env -S -i -u HOME PATH=/bin:/x node --x\n", &Shebang{
			Interp: "/usr/bin/env", Arg: "-S -i -u HOME PATH=/bin:/x node --x", Program: "node", Args: []string{"--x"},
		}},
		{"#!/usr/bin/env --split-string=node --x\n", &Shebang{
			Interp: "/usr/bin/env", Arg: "--split-string=node --x", Program: "node", Args: []string{"--x"},
		}},
		{"#!/usr/bin/env -S 'open\n", &Shebang{Interp: "/usr/bin/env", Arg: "-S 'open"}},
		{"#!/usr/bin/env -S -u\n", &Shebang{Interp: "/usr/bin/env", Arg: "-S -u"}},
		// Linux reads 256 bytes: it cuts an argument short, and refuses a path.
		{"#!/bin/a " + strings.Repeat("x", 300), &Shebang{Interp: "/bin/a", Arg: strings.Repeat("x", 247), Args: []string{strings.Repeat("x", 247)}}},
		{"#!/" + strings.Repeat("x", 300) + "\n", nil},
	} {
		got, ok := ParseShebang([]byte(c.head))
		if c.want == nil {
			if ok {
				t.Errorf("%.40q: got %+v, want none", c.head, got)
			}
			continue
		}
		if diff := cmp.Diff(*c.want, got); diff != "" || !ok {
			t.Errorf("%.40q (-want +got):\n%s", c.head, diff)
		}
	}
}

func FuzzShebang(f *testing.F) {
	for _, s := range []string{"#!/bin/sh\n", "#!/usr/bin/env -S a 'b c' # d\n", "#!/usr/bin/env -S -u X -C /d A=b p q\n", "#! /x\ty z"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := ParseShebang(b)
		if ok != (s.Interp != "") {
			t.Fatalf("%t with interpreter %q", ok, s.Interp)
		}
		if len(s.Interp)+len(s.Arg) > maxShebang || strings.ContainsAny(s.Interp+s.Arg, "\x00\n") {
			t.Fatalf("%+v", s)
		}
	})
}
