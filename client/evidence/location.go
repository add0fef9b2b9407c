package evidence

import (
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// The schemes of gocloud.dev's drivers.
const (
	schemeS3    = "s3"
	schemeGCS   = "gs"
	schemeAzure = "azblob"
	schemeFile  = "file"
)

// parameters are the query parameters of each scheme. They are listed so that
// nothing secret passes for one.
var parameters = map[string][]string{
	schemeS3: {
		"prefix", "region", "endpoint", "profile", "anonymous", "use_path_style", "s3ForcePathStyle", "disable_https",
		"hostname_immutable", "dualstack", "fips", "accelerate", "ssetype", "kmskeyid", "awssdk",
		"rate_limiter_capacity", "request_checksum_calculation", "response_checksum_validation",
	},
	schemeGCS:   {"prefix", "anonymous", "universe_domain"},
	schemeAzure: {"prefix", "domain", "protocol", "cdn", "localemu", "storage_account"},
	schemeFile:  {"prefix", "create_dir", "metadata", "no_tmp_dir"},
}

// LocationError says that a store's URL is none.
type LocationError struct {
	// Location is what was given, without what may be secret.
	Location string
	Problem  string
}

func (e *LocationError) Error() string {
	return fmt.Sprintf("evidence store %q: %s", e.Location, e.Problem)
}

// location is where a store is.
type location struct {
	scheme string
	// bucket is the bucket or container.
	bucket string
	// dir is the folder's path, as it was given.
	dir string
	// prefix is the folder in the bucket, with a slash at its end, or empty.
	prefix string
	query  url.Values
}

func parseLocation(text string) (location, error) {
	if text == "" {
		text = DefaultFolder
	}
	if !strings.Contains(text, "://") {
		if scheme, _, ok := strings.Cut(text, ":"); ok && parameters[scheme] != nil {
			return location{}, &LocationError{redacted(text), fmt.Sprintf("write %s://… , with two slashes", scheme)}
		}
		return location{scheme: schemeFile, dir: filepath.Clean(text)}, nil
	}
	bad := func(format string, args ...any) (location, error) {
		return location{}, &LocationError{redacted(text), fmt.Sprintf(format, args...)}
	}
	u, err := url.Parse(text)
	if err != nil {
		return bad("it cannot be read as a URL")
	}
	known, ok := parameters[u.Scheme]
	if !ok {
		return bad("scheme %q is not known: use s3://BUCKET, gs://BUCKET, azblob://CONTAINER, file:///FOLDER or the path of a folder; for MinIO and others s3://BUCKET?endpoint=https://HOST", u.Scheme)
	}
	if u.User != nil {
		return bad("it has credentials in it: give them in the environment or in temper.yaml (evidence.account, evidence.secret)")
	}
	if u.Fragment != "" || u.Opaque != "" {
		return bad("it has more than a bucket, a folder and parameters")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return bad("its parameters cannot be read")
	}
	for name, values := range query {
		if !slices.Contains(known, name) {
			return bad("parameter %q is not known: allowed are %s; credentials belong in the environment or in temper.yaml", name, strings.Join(known, ", "))
		}
		if len(values) != 1 {
			return bad("parameter %q is given twice", name)
		}
	}
	if problem := endpointProblem(query.Get("endpoint")); problem != "" {
		return bad("endpoint: %s", problem)
	}
	loc := location{scheme: u.Scheme, bucket: u.Host, query: query}
	folder := strings.Trim(u.Path, "/")
	if u.Scheme == schemeFile {
		// As gocloud's fileblob has it: the host is ignored, but for ".".
		loc.dir, loc.bucket, folder = u.Path, "", ""
		if u.Host == "." {
			loc.dir = strings.TrimPrefix(u.Path, "/")
		} else if u.Host != "" && u.Host != "localhost" {
			return bad("a file URL has no host: write file:///FOLDER, or file://./FOLDER for one below the working directory")
		}
		loc.dir = filepath.Clean(filepath.FromSlash(loc.dir))
	} else if loc.bucket == "" {
		return bad("it names no bucket")
	}
	if p := query.Get("prefix"); p != "" {
		folder = path.Join(folder, p)
	}
	query.Del("prefix")
	if folder != "" {
		loc.prefix = folder + "/"
	}
	if loc.prefix != "" && path.Clean("/"+loc.prefix)+"/" != "/"+loc.prefix {
		return bad("folder %q has empty, . or .. parts", folder)
	}
	return loc, nil
}

func endpointProblem(endpoint string) string {
	if endpoint == "" {
		return ""
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return "it must be https://HOST or http://HOST:PORT"
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "it must have no credentials and no parameters"
	}
	return ""
}

// redacted is a URL as far as it may be shown when it is not understood.
func redacted(text string) string {
	text, _, _ = strings.Cut(text, "?")
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		host, folder, _ := strings.Cut(rest, "/")
		if at := strings.LastIndex(rest, "@"); at >= 0 {
			// Passwords may have slashes.
			host, folder, _ = strings.Cut(rest[at+1:], "/")
		}
		text = scheme + "://" + host
		if folder != "" {
			text += "/" + folder
		}
	}
	return text
}

// String is the location as it may be shown.
func (l location) String() string {
	if l.scheme == schemeFile {
		return path.Join(filepath.ToSlash(l.dir), l.prefix)
	}
	s := l.scheme + "://" + l.bucket
	if l.prefix != "" {
		s += "/" + strings.TrimSuffix(l.prefix, "/")
	}
	if len(l.query) > 0 {
		// These need no escapes in a query (RFC 3986, section 3.4).
		s += "?" + strings.NewReplacer("%3A", ":", "%2F", "/").Replace(l.query.Encode())
	}
	return s
}
