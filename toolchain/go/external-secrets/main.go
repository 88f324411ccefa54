// The External Secrets Operator (controller, webhook and certificate controller),
// as upstream's own main has it. The build lays upstream's module beside this file
// and registers the Vault provider and the generators that this project uses; the
// other providers need modules that have no record in the checksum database.
package main

import "github.com/external-secrets/external-secrets/cmd/controller"

func main() {
	controller.Execute()
}
