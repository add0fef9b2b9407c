package signing

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sigstore/cosign/v2/pkg/cosign/kubernetes"
)

// secret is a key pair as "cosign generate-key-pair k8s://" keeps it.
type secret struct{ key, password, public []byte }

func (s *secret) wipe() {
	clear(s.key)
	clear(s.password)
}

// readSecret reads a Kubernetes secret with the credentials of kubectl, or those
// of the pod.
func readSecret(ctx context.Context, ref string) (*secret, error) {
	namespace, name, _ := strings.Cut(strings.TrimPrefix(ref, schemeKubernetes), "/")
	if namespace == "" || name == "" || strings.Contains(name, "/") {
		return nil, errors.New("a Kubernetes secret is named k8s://NAMESPACE/SECRET")
	}
	got, err := kubernetes.GetKeyPairSecret(ctx, ref)
	if err != nil {
		return nil, &ServiceError{Service: "Kubernetes", URL: ref, Err: err}
	}
	s := &secret{key: got.Data["cosign.key"], password: got.Data["cosign.password"], public: got.Data["cosign.pub"]}
	if len(s.key) == 0 && len(s.public) == 0 {
		return nil, fmt.Errorf("the secret has none of the fields cosign.key and cosign.pub")
	}
	return s, nil
}
