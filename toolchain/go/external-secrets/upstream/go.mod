module secret-authority.dev/toolchain/external-secrets/upstream

go 1.26.8

require github.com/external-secrets/external-secrets v0.20.4
