// The Vault resource provider: HashiCorp's Terraform provider behind Pulumi's
// Terraform bridge, with the type tokens of the Python package pulumi-vault.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/hashicorp/terraform-provider-vault/vault"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/tokens"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
)

// version is that of the Python package; stamped by the linker.
var version string

func main() {
	info := provider()
	if len(os.Args) == 2 && os.Args[1] == "-describe" {
		if err := describe(info); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	schema := fmt.Sprintf(`{"name":"vault","version":%q}`, version)
	tfbridge.Main("vault", version, info, []byte(schema))
}

func provider() tfbridge.ProviderInfo {
	info := tfbridge.ProviderInfo{
		P:         shim.NewProvider(vault.Provider()),
		Name:      "vault",
		Version:   version,
		Resources: exceptions(),
	}
	info.MustComputeTokens(tokens.MappedModules("vault_", "index", modules, tokens.MakeStandard("vault")))
	info.SetAutonaming(255, "-")
	return info
}

// describe prints the tokens and the property names, for comparison with the Python package.
func describe(info tfbridge.ProviderInfo) error {
	described := map[string][]string{}
	for name, resource := range info.Resources {
		schema := info.P.ResourcesMap().Get(name).Schema()
		properties := []string{}
		for field := range schema.Range {
			properties = append(properties, tfbridge.TerraformToPulumiNameV2(field, schema, resource.Fields))
		}
		described[string(resource.Tok)] = properties
	}
	for name, function := range info.DataSources {
		schema := info.P.DataSourcesMap().Get(name).Schema()
		properties := []string{}
		for field := range schema.Range {
			properties = append(properties, tfbridge.TerraformToPulumiNameV2(field, schema, function.Fields))
		}
		described[string(function.Tok)] = properties
	}
	return json.NewEncoder(os.Stdout).Encode(described)
}
