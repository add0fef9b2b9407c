package secretstore

import (
	"context"
	"io"

	"github.com/helmfile/vals/pkg/api"
	"github.com/helmfile/vals/pkg/config"
	"github.com/helmfile/vals/pkg/log"
	"github.com/helmfile/vals/pkg/providers/awssecrets"
	"github.com/helmfile/vals/pkg/providers/azurekeyvault"
	"github.com/helmfile/vals/pkg/providers/envsubst"
	"github.com/helmfile/vals/pkg/providers/file"
	"github.com/helmfile/vals/pkg/providers/gcpsecrets"
	"github.com/helmfile/vals/pkg/providers/k8s"
	"github.com/helmfile/vals/pkg/providers/sops"
	"github.com/helmfile/vals/pkg/providers/ssm"
	"github.com/helmfile/vals/pkg/providers/vault"

	"github.com/temper-images/temper/client/secretref"
)

// provider is one kind of place where secrets are kept.
type provider struct {
	// check looks at the surroundings before vals does, where vals would panic,
	// print, change the environment or go on without a word. limit is the most
	// that may be read, in bytes.
	check func(ctx context.Context, r secretref.Reference, limit int64) error
	open  func(options api.StaticConfig) (api.Provider, error)
	// explain tells the reason of a failure. It is asked first; what it does not
	// know is explained in general.
	explain func(error) (reason, bool)
	// shared says that one instance serves all references with equal options,
	// also several at once, so that it logs in once.
	shared bool
}

// quiet is where vals' providers log to.
var quiet = log.New(log.Config{Output: io.Discard})

// awsLogging keeps the AWS SDK from writing requests and answers to standard error.
const awsLogging = "off"

var providers = map[string]provider{
	"awssecrets": {
		check: checkAWS,
		open: func(c api.StaticConfig) (api.Provider, error) {
			return awssecrets.New(quiet, c, awsLogging), nil
		},
		explain: explainAWS,
	},
	"awsssm": {
		check: checkAWS,
		open: func(c api.StaticConfig) (api.Provider, error) {
			return ssm.New(quiet, c, awsLogging), nil
		},
		explain: explainAWS,
	},
	"gcpsecrets": {
		check:   checkGCP,
		open:    func(c api.StaticConfig) (api.Provider, error) { return gcpsecrets.New(c), nil },
		explain: explainGCP,
	},
	"azurekeyvault": {
		check:   checkAzure,
		open:    func(c api.StaticConfig) (api.Provider, error) { return azurekeyvault.New(c), nil },
		explain: explainAzure,
		shared:  true,
	},
	"vault": {
		check:   checkVault,
		open:    func(c api.StaticConfig) (api.Provider, error) { return vault.New(quiet, c), nil },
		explain: explainVault,
		shared:  true,
	},
	"k8s": {
		check:   checkKubernetes,
		open:    func(c api.StaticConfig) (api.Provider, error) { return k8s.New(quiet, c) },
		explain: explainKubernetes,
	},
	"sops": {
		check: checkSOPS,
		open: func(c api.StaticConfig) (api.Provider, error) {
			return sops.New(quiet, c, awsLogging), nil
		},
		explain: explainSOPS,
	},
	"file": {
		check: checkFile,
		open:  func(c api.StaticConfig) (api.Provider, error) { return file.New(c), nil },
	},
	// A variable is substituted like any other text.
	"env": {
		check: checkVariable,
		open:  func(c api.StaticConfig) (api.Provider, error) { return named{envsubst.New(c)}, nil },
	},
	"envsubst": {
		open: func(c api.StaticConfig) (api.Provider, error) { return envsubst.New(c), nil },
	},
}

// named asks vals' envsubst for a variable by its name.
type named struct{ envsubst api.Provider }

func (n named) GetString(name string) (string, error) { return n.envsubst.GetString("${" + name + "}") }

func (n named) GetStringMap(name string) (map[string]any, error) {
	return n.envsubst.GetStringMap("${" + name + "}")
}

// configuration gives a provider the reference's options and nothing else.
func configuration(r secretref.Reference) api.StaticConfig {
	m := map[string]any{}
	for name, value := range r.Options() {
		m[name] = value
	}
	return config.Map(m)
}
