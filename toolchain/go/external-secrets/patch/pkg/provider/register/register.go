// Package register registers the secret store providers of this build.
package register

import _ "github.com/external-secrets/external-secrets/pkg/provider/vault"
