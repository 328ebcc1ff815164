package main

import (
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/aws"
	"slipway.dev/services/deploy/azure"
	"slipway.dev/services/deploy/docker"
	"slipway.dev/services/deploy/google"
	"slipway.dev/services/deploy/kubernetes"
	"slipway.dev/services/deploy/vm"
)

// targets is every kind of place that Slipway deploys to. A new one is a package and a line here.
func targets(s *settings) []deploy.Kind {
	return []deploy.Kind{
		docker.Kind(s.DockerHost),
		docker.SSHKind(),
		kubernetes.Kind(),
		aws.Kind(),
		google.Kind(),
		azure.Kind(),
		vm.AWS(vm.Options{}),
		vm.Google(vm.Options{}),
		vm.Azure(vm.Options{}),
	}
}
