package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// NoRepositoryError says that a registry wants a repository to be made before
// something is pushed to it, and that this is for the user to do.
type NoRepositoryError struct {
	// Repository is its name with the registry's.
	Repository string
	// Advice says how to make it, in a sentence or a command.
	Advice string
	// Err is the registry's answer, or why the repository could not be made.
	Err error
}

func (e *NoRepositoryError) Error() string {
	return fmt.Sprintf("the repository %s does not exist, and its registry makes none by itself: %s: %v", e.Repository, e.Advice, e.Err)
}

func (e *NoRepositoryError) Unwrap() error { return e.Err }

// isNoRepository tells the answer to a push into a repository that does not exist.
func isNoRepository(err error) bool {
	var s *StatusError
	if !errors.As(err, &s) || s.Status != http.StatusNotFound {
		return false
	}
	if slices.Contains(s.Codes, "NAME_UNKNOWN") || slices.Contains(s.Codes, "RepositoryNotFoundException") {
		return true
	}
	m := strings.ToLower(s.Message)
	return (strings.Contains(m, "repository") || strings.Contains(m, "project")) && (strings.Contains(m, "not exist") || strings.Contains(m, "not found"))
}

// create makes the repository, once for all that find it missing at the same time.
// missing is what the registry said.
func (r *Repository) create(ctx context.Context, missing error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.created {
		return nil
	}
	none := &NoRepositoryError{r.name.Name(), r.advice(), missing}
	if r.o.Create == nil {
		return none
	}
	err := r.o.Create.Create(ctx, r.name)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return none
	case err != nil:
		none.Err = fmt.Errorf("making it failed: %w", err)
		return none
	}
	r.created = true
	r.o.Notice(fmt.Sprintf("made the repository %s", r.name))
	return nil
}

// advice says how the repository is made where the registry's name tells whose it is.
func (r *Repository) advice() string {
	host, repo := r.name.RegistryStr(), r.name.RepositoryStr()
	first, rest, _ := strings.Cut(repo, "/")
	switch {
	case strings.Contains(host, ".dkr.ecr") && strings.Contains(host, ".amazonaws.com"), strings.Contains(host, ".dkr-ecr."):
		_, region, _ := strings.Cut(host, "ecr.")
		region, _, _ = strings.Cut(region, ".")
		return "run aws ecr create-repository --repository-name " + repo + " --region " + region
	case strings.HasSuffix(host, "-docker.pkg.dev"):
		second, _, _ := strings.Cut(rest, "/")
		return fmt.Sprintf("run gcloud artifacts repositories create %s --repository-format=docker --project=%s --location=%s", second, first, strings.TrimSuffix(host, "-docker.pkg.dev"))
	case host == "gcr.io" || strings.HasSuffix(host, ".gcr.io"):
		return fmt.Sprintf("run gcloud artifacts repositories create %s --repository-format=docker --project=%s, with the location that the host stands for", host, first)
	}
	return fmt.Sprintf("make it, or the project %q that it belongs to, in the registry", first)
}
