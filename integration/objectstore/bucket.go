package objectstore

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/aws/aws-sdk-go-v2/aws"
	awscreds "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// S3Client is a client of the S3 server, with its credentials.
func (s *Server) S3Client() *s3.Client {
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://" + s.Addr), UsePathStyle: true,
		Credentials: awscreds.NewStaticCredentialsProvider(s.Account, s.Secret, ""),
	})
}

func (s *Server) makeBucket(ctx context.Context) error {
	switch s.Kind {
	case S3:
		_, err := s.S3Client().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(Bucket)})
		return err
	case GCS:
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.Addr+"/storage/v1/b?project=p", strings.NewReader(`{"name":"`+Bucket+`"}`))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
			return fmt.Errorf("status %s: %s", resp.Status, text)
		}
		return nil
	case Azure:
		key, err := container.NewSharedKeyCredential(s.Account, s.Secret)
		if err != nil {
			return err
		}
		c, err := container.NewClientWithSharedKeyCredential("http://"+s.Addr+"/"+s.Account+"/"+Bucket, key, nil)
		if err != nil {
			return err
		}
		_, err = c.Create(ctx, nil)
		return err
	}
	return fmt.Errorf("unknown kind %q", s.Kind)
}

// URL is the location of the bucket for temper, through a server at addr, which
// may be a proxy before this one. The Google Cloud Storage server is found by Env.
func (s *Server) URL(addr string) string {
	switch s.Kind {
	case S3:
		return "s3://" + Bucket + "/team/app?region=us-east-1&endpoint=http://" + addr
	case GCS:
		return "gs://" + Bucket + "/team/app"
	}
	return "azblob://" + Bucket + "/team/app?protocol=http&domain=" + addr + "&storage_account=" + s.Account
}

// Env is the environment in which the URL leads through addr and is opened.
func (s *Server) Env(addr string) map[string]string {
	switch s.Kind {
	case S3:
		return map[string]string{"AWS_ACCESS_KEY_ID": s.Account, "AWS_SECRET_ACCESS_KEY": s.Secret}
	case GCS:
		return map[string]string{"STORAGE_EMULATOR_HOST": addr}
	}
	return map[string]string{"AZURE_STORAGE_ACCOUNT": s.Account, "AZURE_STORAGE_KEY": s.Secret}
}
