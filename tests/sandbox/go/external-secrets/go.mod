module sandbox.invalid/external-secrets

go 1.26

require github.com/external-secrets/external-secrets v1.3.2
