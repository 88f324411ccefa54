module secret-authority.dev/toolchain/external-secrets

go 1.26.8
