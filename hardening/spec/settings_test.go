package spec

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSettingsRoundTrip(t *testing.T) {
	s := Settings{
		Level: LevelExclusive, Shell: ShellRemove, User: "1000:1000",
		Keep: []string{"/b", "/a", "/b"}, Locales: []string{"fr", "de"},
		Image: ImageConfig{Entrypoint: []string{"z", "a"}, Volumes: []string{"/y", "/x"}},
	}
	first, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadSettings(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	// Lists whose order means nothing are sorted, an argument vector is not.
	want := s
	want.Keep, want.Locales, want.Image.Volumes = []string{"/a", "/b"}, []string{"de", "fr"}, []string{"/x", "/y"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings changed on the way (-want +got):\n%s", diff)
	}
	second, err := got.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Errorf("equal settings have different bytes:\n%s\n%s", first, second)
	}
	if !cmp.Equal(s.Keep, []string{"/b", "/a", "/b"}) {
		t.Errorf("Marshal changed its receiver's lists: %q", s.Keep)
	}
}

func TestReadSettingsRefuses(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{`{"level":"exclusive","shell":"keep","user":"auto","unknown":1}`, "unknown"},
		{`{"level":"maximum","shell":"keep","user":"auto"}`, `level "maximum"`},
		{`{"level":"exclusive","shell":"maybe","user":"auto"}`, `shell "maybe"`},
		{`{"level":"exclusive","shell":"keep"}`, "user is empty"},
		{`{`, "decode hardening settings"},
		{strings.Repeat(" ", maxSettings) + `{"level":"exclusive"}`, "decode hardening settings"},
	} {
		if _, err := ReadSettings(strings.NewReader(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%.40q: error %v, want one that says %q", tc.text, err, tc.want)
		}
	}
}

func FuzzReadSettings(f *testing.F) {
	f.Add(`{"level":"exclusive","shell":"keep","user":"auto","keep":["/a"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ReadSettings(strings.NewReader(text))
		if err != nil {
			return
		}
		dt, err := s.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ReadSettings(bytes.NewReader(dt)); err != nil {
			t.Errorf("what was written cannot be read: %v", err)
		}
	})
}

func FuzzReadReport(f *testing.F) {
	f.Add(`{"level":"exclusive","removed":[{"class":"cache"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := ReadReport(strings.NewReader(text)); err == nil && r == nil {
			t.Error("neither a report nor an error")
		}
	})
}
