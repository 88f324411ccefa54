package main

import (
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

// modules maps the beginning of a Terraform name to the module of the Python
// package; every other name lies in "index".
var modules = map[string]string{
	"ad_": "ad", "alicloud_": "alicloud", "approle_": "appRole", "aws_": "aws", "azure_": "azure",
	"config_": "config", "consul_": "consul", "database_": "database", "gcp_": "gcp", "generic_": "generic",
	"github_": "github", "identity_": "identity", "jwt_": "jwt", "kmip_": "kmip", "kubernetes_": "kubernetes",
	"kv_": "kv", "ldap_": "ldap", "managed_": "managed", "mongodbatlas_": "mongodbatlas", "okta_": "okta",
	"pki_secret_": "pkiSecret", "rabbitmq_": "rabbitMq", "saml_": "saml", "secrets_": "secrets", "ssh_": "ssh",
	"terraform_cloud_": "terraformcloud", "transform_": "transform", "transit_": "transit",
}

// exceptions names the resources whose token or property does not follow from the Terraform name.
func exceptions() map[string]*tfbridge.ResourceInfo {
	named := map[string]string{
		"vault_azure_secret_backend":                "azure/backend:Backend",
		"vault_azure_secret_backend_role":           "azure/backendRole:BackendRole",
		"vault_identity_oidc_key_allowed_client_id": "identity/oidcKeyAllowedClientID:OidcKeyAllowedClientID",
		"vault_token_auth_backend_role":             "tokenauth/authBackendRole:AuthBackendRole",
	}
	for _, kept := range []struct{ terraform, lower, upper string }{
		{"cert", "secretBackendCert", "SecretBackendCert"},
		{"config_ca", "secretBackendConfigCa", "SecretBackendConfigCa"},
		{"config_issuers", "secretBackendConfigIssuers", "SecretBackendConfigIssuers"},
		{"config_urls", "secretBackendConfigUrls", "SecretBackendConfigUrls"},
		{"crl_config", "secretBackendCrlConfig", "SecretBackendCrlConfig"},
		{"intermediate_cert_request", "secretBackendIntermediateCertRequest", "SecretBackendIntermediateCertRequest"},
		{"intermediate_set_signed", "secretBackendIntermediateSetSigned", "SecretBackendIntermediateSetSigned"},
		{"issuer", "secretBackendIssuer", "SecretBackendIssuer"},
		{"key", "secretBackendKey", "SecretBackendKey"},
		{"role", "secretBackendRole", "SecretBackendRole"},
		{"root_cert", "secretBackendRootCert", "SecretBackendRootCert"},
		{"root_sign_intermediate", "secretBackendRootSignIntermediate", "SecretBackendRootSignIntermediate"},
		{"sign", "secretBackendSign", "SecretBackendSign"},
	} {
		// These PKI resources keep the word "secret", which the module name has too.
		named["vault_pki_secret_backend_"+kept.terraform] = "pkiSecret/" + kept.lower + ":" + kept.upper
	}
	resources := map[string]*tfbridge.ResourceInfo{}
	for terraform, token := range named {
		resources[terraform] = &tfbridge.ResourceInfo{Tok: tokens.Type("vault:" + token)}
	}
	resources["vault_pki_secret_backend_role"].Fields = map[string]*tfbridge.SchemaInfo{
		"ou": {Name: "organizationUnit"},
	}
	return resources
}
