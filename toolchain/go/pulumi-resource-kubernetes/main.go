// The Kubernetes resource provider, as upstream's own main has it. The schema
// and the Terraform name mapping are files of the pinned provider module; the
// build lays them beside this file.
package main

import (
	"bytes"
	_ "embed"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
)

var (
	//go:embed schema.json
	schema []byte
	//go:embed terraform-mapping.json
	terraformMapping []byte
	// version is stamped by the linker; the CLI reads it from the schema and from GetPluginInfo.
	version string
)

func main() {
	stamped := bytes.Replace(schema, []byte("{"), []byte(`{"version":"`+version+`",`), 1)
	provider.Serve("kubernetes", version, stamped, terraformMapping)
}
