package evidence

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"cloud.google.com/go/storage"
	"gocloud.dev/blob/gcsblob"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/option"
)

func openGCS(ctx context.Context, loc location, o Options) (bucket, error) {
	var transport http.RoundTripper = recorder{o.Transport}
	domain := loc.query.Get("universe_domain")
	anonymous := loc.query.Get("anonymous") == "true" || os.Getenv("STORAGE_EMULATOR_HOST") != ""
	if !anonymous {
		creds, err := googleCredentials(ctx, domain, o)
		if err != nil {
			return nil, err
		}
		transport = &oauth2.Transport{Base: transport, Source: creds.TokenSource}
	}
	options := []option.ClientOption{option.WithHTTPClient(&http.Client{Transport: transport})}
	if domain != "" {
		options = append(options, option.WithUniverseDomain(domain))
	}
	client, err := storage.NewClient(ctx, options...)
	if err != nil {
		return nil, err
	}
	client.SetRetry(storage.WithPolicy(storage.RetryNever))
	b, err := gcsblob.OpenBucket(ctx, nil, loc.bucket, &gcsblob.Options{Client: client})
	if err != nil {
		return nil, err
	}
	return cloud{b}, nil
}

// googleCredentials are the given ones or, as Google's tools find them, those of
// the environment. Tokens are asked for through the same transport.
func googleCredentials(ctx context.Context, domain string, o Options) (*google.Credentials, error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: recorder{o.Transport}})
	params := google.CredentialsParams{Scopes: []string{storage.ScopeReadWrite}, UniverseDomain: domain}
	if o.Credentials.Secret == "" {
		creds, err := google.FindDefaultCredentialsWithParams(ctx, params)
		if err != nil {
			return nil, &credentialsError{err}
		}
		return creds, nil
	}
	// Other kinds of credentials name addresses to ask, and commands to run.
	creds, err := google.CredentialsFromJSONWithTypeAndParams(ctx, []byte(o.Credentials.Secret), google.ServiceAccount, params)
	if err != nil {
		return nil, &credentialsError{fmt.Errorf("the given credentials are not the JSON of a service account's key")}
	}
	return creds, nil
}
