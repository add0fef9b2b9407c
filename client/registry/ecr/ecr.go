// Package ecr makes repositories in Amazon's Elastic Container Registry, which wants
// each made before something is pushed to it.
package ecr

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/google/go-containerregistry/pkg/name"
)

// private is the host of a private registry: ACCOUNT.dkr.ecr.REGION.amazonaws.com, with
// -fips, and .cn in China; newer names are ACCOUNT.dkr-ecr.REGION.on.aws.
var private = regexp.MustCompile(`^(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)$`)

// Creator makes repositories. It is a registry.Creator.
type Creator struct {
	// Immutable has tags in the repositories stay where they are put, save those of
	// signatures (sha256-…), to which others are added.
	Immutable bool
	// HTTPClient is nil for the SDK's own.
	HTTPClient *http.Client
}

// Create makes a repository. It logs in with the AWS SDK's credentials: variables,
// profiles, roles. The error is errors.ErrUnsupported for other registries than private
// ones of ECR; that the repository exists is none.
func (c Creator) Create(ctx context.Context, repo name.Repository) error {
	m := private.FindStringSubmatch(repo.RegistryStr())
	if m == nil {
		return fmt.Errorf("%s is no private registry of ECR: %w", repo.RegistryStr(), errors.ErrUnsupported)
	}
	options := []func(*config.LoadOptions) error{config.WithRegion(m[2])}
	if c.HTTPClient != nil {
		options = append(options, config.WithHTTPClient(c.HTTPClient))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return fmt.Errorf("make repository %s in ECR: %w", repo, err)
	}
	in := &ecr.CreateRepositoryInput{RegistryId: aws.String(m[1]), RepositoryName: aws.String(repo.RepositoryStr())}
	if c.Immutable {
		in.ImageTagMutability = types.ImageTagMutabilityImmutableWithExclusion
		in.ImageTagMutabilityExclusionFilters = []types.ImageTagMutabilityExclusionFilter{{
			Filter: aws.String("sha256-*"), FilterType: types.ImageTagMutabilityExclusionFilterTypeWildcard,
		}}
	}
	_, err = ecr.NewFromConfig(cfg).CreateRepository(ctx, in)
	var exists *types.RepositoryAlreadyExistsException
	if err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("make repository %s in ECR: check that the AWS credentials may do ecr:CreateRepository: %w", repo, err)
	}
	return nil
}
