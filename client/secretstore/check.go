package secretstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	sm "cloud.google.com/go/secretmanager/apiv1"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/getsops/sops/v3/logging"
	"github.com/sirupsen/logrus"
	"k8s.io/client-go/rest"

	"github.com/temper-images/temper/client/secretref"
)

// checkAWS refuses two things that vals does: it lets AWS_SDK_GO_LOG_LEVEL write
// answers, with the secrets in them, to standard error; and where a profile does
// not exist it takes other credentials, and unsets variables to get there.
func checkAWS(ctx context.Context, r secretref.Reference, _ int64) error {
	if level := strings.ToLower(strings.TrimSpace(os.Getenv("AWS_SDK_GO_LOG_LEVEL"))); level != "" && level != "off" && level != "minimal" {
		return &reason{ErrSetup, "AWS_SDK_GO_LOG_LEVEL would have the AWS SDK print secrets", "unset it"}
	}
	profile := r.Option("profile")
	if profile == "" {
		return nil
	}
	env, err := awsconfig.NewEnvConfig()
	if err != nil {
		return &reason{ErrSetup, "the variables of AWS cannot be read", ""}
	}
	if _, err := awsconfig.LoadSharedConfigProfile(ctx, profile, func(o *awsconfig.LoadSharedConfigOptions) {
		if env.SharedCredentialsFile != "" {
			o.CredentialsFiles = []string{env.SharedCredentialsFile}
		}
		if env.SharedConfigFile != "" {
			o.ConfigFiles = []string{env.SharedConfigFile}
		}
	}); err != nil {
		var missing awsconfig.SharedConfigProfileNotExistError
		if errors.As(err, &missing) {
			return &reason{ErrSetup, "there is no AWS profile " + strconv.Quote(profile), "add it to ~/.aws/config, or leave out the option profile"}
		}
		return &reason{ErrSetup, "the AWS profile " + strconv.Quote(profile) + " cannot be read", "see what aws configure list says of it"}
	}
	return nil
}

// checkGCP opens a client before vals does, because vals prints it when that fails.
func checkGCP(ctx context.Context, r secretref.Reference, _ int64) error {
	if !strings.Contains(strings.Trim(r.Path, "/"), "/") && os.Getenv("GCP_PROJECT") == "" {
		return &reason{ErrSetup, "the reference names no project", "write PROJECT/SECRET, or set GCP_PROJECT"}
	}
	c, err := sm.NewClient(ctx)
	if err != nil {
		return &reason{ErrSetup, "no Google credentials were found", "set GOOGLE_APPLICATION_CREDENTIALS, or run gcloud auth application-default login"}
	}
	_ = c.Close() // it has no connection yet
	return nil
}

func checkAzure(_ context.Context, _ secretref.Reference, _ int64) error {
	if auth := os.Getenv("AZKV_AUTH"); !slices.Contains([]string{"", "default", "workload", "managed", "cli", "devcli"}, auth) {
		return &reason{ErrSetup, "AZKV_AUTH has a value that is not known", "use default, workload, managed, cli or devcli"}
	}
	return nil
}

// checkVault looks at the address as vals puts it together. vals turns the check
// of certificates off for every address in which "127.0.0.1" stands, so that only
// addresses of this machine may have it.
func checkVault(_ context.Context, r secretref.Reference, _ int64) error {
	address := r.Option("address")
	if address == "" && r.Option("host") != "" {
		proto := r.Option("proto")
		if proto == "" {
			proto = "https"
		}
		address = proto + "://" + r.Option("host")
	}
	if address == "" {
		address = os.Getenv("VAULT_ADDR")
	}
	if address == "" && os.Getenv("VAULT_AGENT_ADDR") == "" {
		return &reason{ErrSetup, "no address of Vault is set", "set VAULT_ADDR, or add ?address= to the reference"}
	}
	u, err := url.Parse(address)
	if err != nil {
		return &reason{ErrSetup, "Vault's address is no URL", "write https://HOST:PORT"}
	}
	if u.User != nil {
		return &reason{ErrSetup, "Vault's address holds a user or a password", "write https://HOST:PORT, and set VAULT_TOKEN or VAULT_AUTH_METHOD"}
	}
	if strings.Contains(address, "127.0.0.1") {
		if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
			return &reason{ErrSetup, "Vault's address has 127.0.0.1 in it but is another machine's", "write the address without it"}
		}
	}
	return nil
}

// sopsQuiet ends SOPS' own log, which goes to standard error and quotes comments.
var sopsQuiet = sync.OnceFunc(func() { logging.SetLevel(logrus.PanicLevel) })

func checkSOPS(ctx context.Context, r secretref.Reference, limit int64) error {
	sopsQuiet()
	if err := checkAWS(ctx, r, limit); err != nil {
		return err
	}
	if r.Option("key_type") == "base64" {
		return nil
	}
	// Encryption adds a few hundred bytes for each value and recipient.
	return checkRegular(r.Path, limit*16)
}

// kubernetesQuiet ends the printing of warnings that servers send.
var kubernetesQuiet = sync.OnceFunc(func() { rest.SetDefaultWarningHandler(rest.NoWarnings{}) })

func checkKubernetes(context.Context, secretref.Reference, int64) error {
	kubernetesQuiet()
	return nil
}

func checkVariable(_ context.Context, r secretref.Reference, _ int64) error {
	if _, ok := os.LookupEnv(r.Path); !ok {
		return &reason{ErrNotFound, "the environment has no variable " + r.Path, "export it to this process"}
	}
	return nil
}

func checkFile(_ context.Context, r secretref.Reference, limit int64) error {
	return checkRegular(strings.TrimSuffix(r.Path, "/"), limit)
}

// checkRegular keeps vals from reading devices, pipes and large files, all of
// which it would read to the end.
func checkRegular(path string, limit int64) error {
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !fi.Mode().IsRegular():
		return &reason{ErrUnusable, path + " is not a regular file", "name a file"}
	case fi.Size() > limit:
		return &reason{ErrUnusable, fmt.Sprintf("%s has %d bytes, and at most %d are read", path, fi.Size(), limit), ""}
	}
	return nil
}
