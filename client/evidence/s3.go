package evidence

import (
	"context"
	"net/http"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscreds "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	"gocloud.dev/blob/s3blob"
)

// defaultRegion is what stores call themselves that have no regions.
const defaultRegion = "us-east-1"

func openS3(ctx context.Context, loc location, o Options) (bucket, error) {
	query := url.Values{}
	for name, values := range loc.query {
		query[name] = values
	}
	if query.Get("endpoint") != "" {
		// Stores with an address of their own have seldom a name for each bucket.
		if !query.Has("use_path_style") && !query.Has("s3ForcePathStyle") {
			query.Set("use_path_style", "true")
		}
	}
	// gocloud reads the parameters. The client that it makes is made anew, since
	// it takes neither credentials nor a transport nor other retries.
	opener := &s3blob.URLOpener{}
	first, err := opener.OpenBucketURL(ctx, &url.URL{Scheme: schemeS3, Host: loc.bucket, RawQuery: query.Encode()})
	if err != nil {
		return nil, err
	}
	defer first.Close()
	var client *s3.Client
	first.As(&client)
	options := client.Options()
	options.HTTPClient = &http.Client{Transport: recorder{o.Transport}}
	options.Retryer = aws.NopRetryer{}
	options.RetryMaxAttempts = 0
	options.Logger = logging.Nop{}
	if options.Region == "" {
		options.Region = defaultRegion
	}
	if c := o.Credentials; !c.isZero() {
		options.Credentials = aws.NewCredentialsCache(awscreds.NewStaticCredentialsProvider(c.Account, c.Secret, c.Token))
	}
	b, err := s3blob.OpenBucket(ctx, s3.New(options), loc.bucket, &opener.Options)
	if err != nil {
		return nil, err
	}
	return cloud{b}, nil
}
