package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// findPlugins prints the path of every installed pulumi-plugin.json, by which a
// Python SDK names the resource plugin that it needs.
const findPlugins = `import glob, json, os, sys
print(json.dumps([p for d in sys.path if d for p in glob.glob(os.path.join(d, "*", "pulumi-plugin.json"))]))`

// GetRequiredPackages lists the resource plugins that the installed SDKs need.
func (h *host) GetRequiredPackages(
	ctx context.Context, req *pulumirpc.GetRequiredPackagesRequest,
) (*pulumirpc.GetRequiredPackagesResponse, error) {
	python, err := pythonOf(req.GetInfo())
	if err != nil {
		return nil, err
	}
	if err := python.ValidateVenv(ctx); err != nil {
		return nil, err
	}
	cmd, err := python.Command(ctx, "-c", findPlugins)
	if err != nil {
		return nil, err
	}
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the installed Pulumi packages: %w", err)
	}
	var paths []string
	if err := json.Unmarshal(output, &paths); err != nil {
		return nil, fmt.Errorf("listing the installed Pulumi packages: %w", err)
	}
	response := &pulumirpc.GetRequiredPackagesResponse{}
	for _, path := range paths {
		described, err := plugin.LoadPulumiPluginJSON(path)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		if described.Resource {
			response.Packages = append(response.Packages, dependency(described))
		}
	}
	return response, nil
}

func dependency(described *plugin.PulumiPluginJSON) *pulumirpc.PackageDependency {
	dep := &pulumirpc.PackageDependency{Name: described.Name, Kind: "resource", Server: described.Server}
	if v, err := semver.ParseTolerant(described.Version); err == nil {
		dep.Version = v.String()
	}
	if p := described.Parameterization; p != nil {
		dep.Parameterization = &pulumirpc.PackageParameterization{Name: p.Name, Version: p.Version, Value: p.Value}
	}
	return dep
}

// GetProgramDependencies lists the installed Python packages.
func (h *host) GetProgramDependencies(
	ctx context.Context, req *pulumirpc.GetProgramDependenciesRequest,
) (*pulumirpc.GetProgramDependenciesResponse, error) {
	python, err := pythonOf(req.GetInfo())
	if err != nil {
		return nil, err
	}
	if err := python.ValidateVenv(ctx); err != nil {
		return nil, err
	}
	installed, err := python.ListPackages(ctx, req.GetTransitiveDependencies())
	if err != nil {
		return nil, err
	}
	response := &pulumirpc.GetProgramDependenciesResponse{}
	for _, pkg := range installed {
		response.Dependencies = append(response.Dependencies,
			&pulumirpc.DependencyInfo{Name: pkg.Name, Version: pkg.Version})
	}
	return response, nil
}
