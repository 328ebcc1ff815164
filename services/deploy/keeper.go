package deploy

import "context"

// EnvironmentKeeper is a Target that keeps something for an environment as a whole, such as a namespace.
type EnvironmentKeeper interface {
	// RemoveEnvironment removes what the target made for the environment, which
	// was deleted after its last instances had gone. What others use there stays;
	// what is gone already is no error.
	RemoveEnvironment(ctx context.Context, environmentID string) error
}
