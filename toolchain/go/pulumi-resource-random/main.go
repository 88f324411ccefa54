// The random resource provider: HashiCorp's Terraform provider behind Pulumi's
// Terraform bridge, with the type tokens of the Python package pulumi-random.
// The Terraform provider's package is internal; hence the path of this module.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	bridge "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/terraform-providers/terraform-provider-random/internal/provider"
)

// version is that of the Python package; stamped by the linker.
var version string

func main() {
	info := describeProvider()
	if len(os.Args) == 2 && os.Args[1] == "-describe" {
		if err := describe(info); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	schema := fmt.Sprintf(`{"name":"random","version":%q}`, version)
	tfbridge.Main(context.Background(), "random", info, tfbridge.ProviderMetadata{PackageSchema: []byte(schema)})
}

func describeProvider() bridge.ProviderInfo {
	info := bridge.ProviderInfo{
		P:            tfbridge.ShimProvider(provider.New()),
		Name:         "random",
		Version:      version,
		MetadataInfo: bridge.NewProviderMetadata([]byte("{}")),
		Resources:    map[string]*bridge.ResourceInfo{},
	}
	for terraform := range info.P.ResourcesMap().Range {
		name := ""
		for _, word := range strings.Split(terraform, "_") {
			name += strings.ToUpper(word[:1]) + word[1:]
		}
		lower := strings.ToLower(name[:1]) + name[1:]
		resource := &bridge.ResourceInfo{Tok: tokens.Type("random:index/" + lower + ":" + name)}
		if _, has := info.P.ResourcesMap().Get(terraform).Schema().GetOk("id"); !has {
			resource.ComputeID = bridge.MissingIDComputeID()
		}
		info.Resources[terraform] = resource
	}
	return info
}

// describe prints the tokens and the property names, for comparison with the Python package.
func describe(info bridge.ProviderInfo) error {
	described := map[string][]string{}
	for name, resource := range info.Resources {
		schema := info.P.ResourcesMap().Get(name).Schema()
		properties := []string{}
		for field := range schema.Range {
			properties = append(properties, bridge.TerraformToPulumiNameV2(field, schema, resource.Fields))
		}
		described[string(resource.Tok)] = properties
	}
	return json.NewEncoder(os.Stdout).Encode(described)
}
