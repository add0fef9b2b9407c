package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/temper-images/temper/hardening/spec"
)

func TestOverride(t *testing.T) {
	c, err := Parse(FileName, []byte("harden: {shell: remove, keep: [/a]}"))
	if err != nil {
		t.Fatal(err)
	}
	want := c
	want.Harden.Level = spec.LevelOff
	want.Harden.Keep = []string{"/b,c", "/d"}
	want.Harden.Remove = []string{"package:perl", "soname:libz.so.1"}
	want.Harden.Preset = []string{"debug", "postgres"}
	want.Harden.Locales = nil
	err = c.Override(map[string]string{
		"build-arg:TEMPER_HARDEN_LEVEL":   "off",
		"build-arg:TEMPER_HARDEN_KEEP":    `"/b,c",/d`,
		"build-arg:TEMPER_HARDEN_REMOVE":  "package:perl,soname:libz.so.1",
		"build-arg:TEMPER_HARDEN_PRESET":  "debug,postgres",
		"build-arg:TEMPER_HARDEN_LOCALES": "",
		"build-arg:VERSION":               "TEMPER_X",
		"TEMPER_HARDEN_SHELL":             "nonsense",
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestOverrideEnv(t *testing.T) {
	c := Default()
	if err := c.OverrideEnv([]string{"PATH=/bin", "TEMPER_HARDEN_LEVEL=off", "TEMPER_HARDEN_USER=7:8"}); err != nil {
		t.Fatal(err)
	}
	if c.Harden.Level != spec.LevelOff || c.Harden.User != "7:8" {
		t.Errorf("got %+v", c.Harden)
	}
}

func TestOverrideErrors(t *testing.T) {
	all := "TEMPER_HARDEN_LEVEL, TEMPER_HARDEN_SHELL, TEMPER_HARDEN_DOCS, TEMPER_HARDEN_BYTECODE, TEMPER_HARDEN_LOCALES, TEMPER_HARDEN_PRESET, TEMPER_HARDEN_KEEP, TEMPER_HARDEN_REMOVE, " +
		"TEMPER_HARDEN_SETUID, TEMPER_HARDEN_USER, TEMPER_HARDEN_WRITABLE, TEMPER_HARDEN_REPORT"
	for _, tt := range []struct {
		name, arg, value, want string
	}{
		{"unknown", "TEMPER_HARDEN_LEVLE", "off", `build argument: "TEMPER_HARDEN_LEVLE" is not known; allowed: ` + all + `; did you mean "TEMPER_HARDEN_LEVEL"?`},
		{"wrong value", "TEMPER_HARDEN_LEVEL", "max", `build argument TEMPER_HARDEN_LEVEL: harden.level: "max" is not known; allowed: off, exclusive, minimal`},
		{"empty choice", "TEMPER_HARDEN_LEVEL", "", `build argument TEMPER_HARDEN_LEVEL: harden.level: "" is not known; allowed: off, exclusive, minimal`},
		{"bad list", "TEMPER_HARDEN_KEEP", `"/a`, `build argument TEMPER_HARDEN_KEEP: harden.keep: is not a list of comma separated values: parse error on line 1, column 2: extraneous or missing " in quoted-field`},
		{"bad item", "TEMPER_HARDEN_KEEP", `/a,b`, `build argument TEMPER_HARDEN_KEEP: harden.keep: "b" is not absolute: it must begin with /, package: or soname:; allowed: an absolute path or glob, package:NAME or soname:NAME`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Default()
			err := c.Override(map[string]string{"build-arg:" + tt.arg: tt.value, "build-arg:TEMPER_HARDEN_SHELL": "remove"})
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if diff := cmp.Diff(Default(), c); diff != "" {
				t.Errorf("a failed override changed the configuration: %s", diff)
			}
		})
	}
}

func FuzzOverride(f *testing.F) {
	f.Add("HARDEN_KEEP", `/a,"/b"`)
	f.Add("HARDEN_USER", "1:2")
	f.Fuzz(func(t *testing.T, name, value string) {
		c := Default()
		if err := c.Override(map[string]string{"build-arg:TEMPER_" + name: value}); err != nil && !strings.Contains(err.Error(), "build argument") {
			t.Fatalf("error does not say where: %v", err)
		}
	})
}
