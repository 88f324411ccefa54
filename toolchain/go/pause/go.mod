module secret-authority.dev/toolchain/pause

go 1.26.8
