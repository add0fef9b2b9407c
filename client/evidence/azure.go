package evidence

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"gocloud.dev/blob/azureblob"
)

func openAzure(ctx context.Context, loc location, o Options) (bucket, error) {
	given, defaults := azureCredentials(o.Credentials)
	clientOptions := azcore.ClientOptions{
		Transport: &http.Client{Transport: recorder{o.Transport}},
		Retry:     policy.RetryOptions{MaxRetries: -1},
	}
	opener := &azureblob.URLOpener{
		ServiceURLOptions: *defaults,
		MakeClient: func(service azureblob.ServiceURL, name azureblob.ContainerName) (*container.Client, error) {
			containerURL, err := url.JoinPath(string(service), string(name))
			if err != nil {
				return nil, errors.New("the address of the storage account cannot be read")
			}
			options := &container.ClientOptions{ClientOptions: clientOptions}
			switch {
			case isConnectionString(given.Secret):
				c, err := container.NewClientFromConnectionString(given.Secret, string(name), options)
				if err != nil {
					return nil, &credentialsError{errors.New("the connection string cannot be read")}
				}
				return c, nil
			case isSharedAccessSignature(given.Secret):
				return container.NewClientWithNoCredential(containerURL, options)
			case given.Secret != "":
				key, err := container.NewSharedKeyCredential(given.Account, given.Secret)
				if err != nil {
					return nil, &credentialsError{errors.New("the account key is not in base64")}
				}
				return container.NewClientWithSharedKeyCredential(containerURL, key, options)
			}
			identity, err := azidentity.NewDefaultAzureCredential(nil)
			if err != nil {
				return nil, &credentialsError{err}
			}
			return container.NewClient(containerURL, identity, options)
		},
	}
	b, err := opener.OpenBucketURL(ctx, &url.URL{Scheme: schemeAzure, Host: loc.bucket, RawQuery: loc.query.Encode()})
	if err != nil {
		return nil, err
	}
	return cloud{b}, nil
}

// azureCredentials are the given credentials, or those of the environment in
// gocloud's order, and what follows from them for the address of the account.
func azureCredentials(c Credentials) (Credentials, *azureblob.ServiceURLOptions) {
	defaults := azureblob.NewDefaultServiceURLOptions()
	if c.isZero() {
		c = Credentials{Account: defaults.AccountName}
		connection := os.Getenv("AZURE_STORAGE_CONNECTION_STRING")
		if connection == "" {
			connection = os.Getenv("AZURE_STORAGEBLOB_CONNECTIONSTRING")
		}
		for _, secret := range []string{os.Getenv("AZURE_STORAGE_KEY"), defaults.SASToken, connection} {
			if secret != "" && c.Secret == "" {
				c.Secret = secret
			}
		}
	}
	defaults.SASToken = ""
	if !isConnectionString(c.Secret) && isSharedAccessSignature(c.Secret) {
		defaults.SASToken = strings.TrimPrefix(c.Secret, "?")
	}
	if c.Account != "" {
		defaults.AccountName = c.Account
	}
	for part := range strings.SplitSeq(c.Secret, ";") {
		// The client takes the address from the connection string, but gocloud
		// wants an account nevertheless.
		if name, ok := strings.CutPrefix(part, "AccountName="); ok && defaults.AccountName == "" {
			defaults.AccountName = name
		}
	}
	return c, defaults
}
