package evidence

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseLocation(t *testing.T) {
	for _, tt := range []struct {
		text   string
		want   location
		string string
	}{
		{"", location{scheme: "file", dir: "temper-evidence"}, "temper-evidence"},
		{"out/evidence/", location{scheme: "file", dir: "out/evidence"}, "out/evidence"},
		{"/srv/evidence", location{scheme: "file", dir: "/srv/evidence"}, "/srv/evidence"},
		{"file:///srv/evidence", location{scheme: "file", dir: "/srv/evidence"}, "/srv/evidence"},
		{"file://localhost/srv/evidence?no_tmp_dir=1", location{scheme: "file", dir: "/srv/evidence"}, "/srv/evidence"},
		{"file://./evidence", location{scheme: "file", dir: "evidence"}, "evidence"},
		{"file:///srv?prefix=team/app", location{scheme: "file", dir: "/srv", prefix: "team/app/"}, "/srv/team/app"},
		{"s3://b", location{scheme: "s3", bucket: "b"}, "s3://b"},
		{"s3://b/team/app/?region=eu-central-1", location{scheme: "s3", bucket: "b", prefix: "team/app/"}, "s3://b/team/app?region=eu-central-1"},
		{"s3://b/team?prefix=app/", location{scheme: "s3", bucket: "b", prefix: "team/app/"}, "s3://b/team/app"},
		{"s3://b?endpoint=https://minio.example.com:9000", location{scheme: "s3", bucket: "b"}, "s3://b?endpoint=https://minio.example.com:9000"},
		{"gs://b/x", location{scheme: "gs", bucket: "b", prefix: "x/"}, "gs://b/x"},
		{"azblob://c/x?storage_account=acc", location{scheme: "azblob", bucket: "c", prefix: "x/"}, "azblob://c/x?storage_account=acc"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			got, err := parseLocation(tt.text)
			require.NoError(t, err)
			require.Equal(t, tt.string, got.String())
			got.query = nil
			require.Equal(t, tt.want, got)
		})
	}
}

// No text of a location that is refused shows what may be a secret.
func TestParseLocationRefuses(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"s3:bucket", "two slashes"},
		{"https://minio.example.com/bucket", "for MinIO and others"},
		{"s3://user:SECRET@bucket/x", "it has credentials in it"},
		{"s3://user:SECRET/pass@bucket/x", ""},
		{"s3://b?endpoint=https://user:SECRET@host", "no credentials"},
		{"s3://b?endpoint=host:9000", "it must be https://HOST"},
		{"s3://b?endpoint=https://host?token=SECRET", "no credentials and no parameters"},
		{"s3://b?secret_key=SECRET", `parameter "secret_key" is not known`},
		{"s3://b?region=a&region=b", `parameter "region" is given twice`},
		{"azblob://c?sv=1&sig=SECRET", "is not known: allowed are"},
		{"s3://", "it names no bucket"},
		{"s3:///x", "it names no bucket"},
		{"s3://b/a//b", "empty, . or .. parts"},
		{"s3://b/a/../b", "empty, . or .. parts"},
		{"s3://b/a#SECRET", "more than a bucket"},
		{"file://host/x", "a file URL has no host"},
		{"s3://b\x00SECRET?x", "cannot be read as a URL"},
		{"s3://b?%zzSECRET", "parameters cannot be read"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			_, err := parseLocation(tt.text)
			var lerr *LocationError
			require.ErrorAs(t, err, &lerr)
			require.ErrorContains(t, err, tt.want)
			if !strings.Contains(tt.text, "\x00") && !strings.Contains(tt.text, "#") {
				require.NotContains(t, err.Error(), "SECRET")
			}
		})
	}
}

func TestCredentialsAreNotPrinted(t *testing.T) {
	c := Credentials{Account: "ACCOUNT", Secret: "SECRET", Token: "TOKEN"}
	o := Options{Credentials: c}
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s", c, c, c, c), fmt.Sprintf("%v %+v %#v", o, o, o)} {
		for _, secret := range []string{"ACCOUNT", "SECRET", "TOKEN"} {
			require.NotContains(t, text, secret)
		}
	}
}

func FuzzParseLocation(f *testing.F) {
	for _, s := range []string{"", "a/b", "s3://b/p?region=x", "gs://b", "azblob://c?domain=d", "file:///x?prefix=y", "s3://u:p@b", "s3://b?endpoint=http://h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		loc, err := parseLocation(text)
		if err != nil {
			return
		}
		require.False(t, strings.HasPrefix(loc.prefix, "/"))
		require.NotContains(t, "/"+loc.prefix, "/../")
		if loc.scheme != schemeFile {
			again, err := parseLocation(loc.String())
			require.NoError(t, err)
			require.Equal(t, loc.String(), again.String())
		} else {
			require.Equal(t, filepath.Clean(loc.dir), loc.dir)
		}
	})
}
