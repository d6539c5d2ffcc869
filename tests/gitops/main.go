// gitops reads manifests as the controllers that they are for do, into the types of those controllers,
// and fails at a field that they do not have.
//
// gitops FILE...
package main

import (
	"bytes"
	"fmt"
	"os"

	rollouts "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	flagger "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

var kinds = map[string]func() any{
	"argoproj.io/v1alpha1 AnalysisTemplate":    func() any { return new(rollouts.AnalysisTemplate) },
	"argoproj.io/v1alpha1 Rollout":             func() any { return new(rollouts.Rollout) },
	"flagger.app/v1beta1 Canary":               func() any { return new(flagger.Canary) },
	"rbac.authorization.k8s.io/v1 Role":        func() any { return new(rbac.Role) },
	"rbac.authorization.k8s.io/v1 RoleBinding": func() any { return new(rbac.RoleBinding) },
	"v1 ServiceAccount":                        func() any { return new(core.ServiceAccount) },
}

func main() {
	read := 0
	for _, file := range os.Args[1:] {
		number, err := check(file)
		if err != nil {
			fmt.Fprintf(os.Stderr, "gitops: %s: %v\n", file, err)
			os.Exit(1)
		}
		read += number
	}
	fmt.Printf("gitops: %d objects of %d files have only fields that exist\n", read, len(os.Args)-1)
	if read == 0 {
		os.Exit(1)
	}
}

func check(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	documents := bytes.Split(text, []byte("\n---\n"))
	for _, document := range documents {
		var head struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
		}
		if err := yaml.Unmarshal(document, &head); err != nil {
			return 0, err
		}
		make, known := kinds[head.APIVersion+" "+head.Kind]
		if !known {
			return 0, fmt.Errorf("%s %s is none of the kinds that are known here", head.APIVersion, head.Kind)
		}
		if err := yaml.UnmarshalStrict(document, make()); err != nil {
			return 0, fmt.Errorf("%s: %w", head.Kind, err)
		}
	}
	return len(documents), nil
}
