"""What of a Secret is a secret: by the name of its key, and by its value."""

from __future__ import annotations

import base64
import json

import pytest

from policy.rules.secret_values import is_secret

PLACEHOLDERS = [
    "change-me-before-deploy",
    "CHANGEME_postgres_Strong1!",
    "ChangeMe123!",
    "generate-a-long-random-token",
    "create-in-the-console",
    "put your token here",
    "sk_test_your-stripe-secret-key",
    "whsec_mock",
    "sk-...",
    "ghp_xxxxxxxxxxxxxxxx",
    "00000000-0000-0000-0000-000000000000",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "DB_PASSWORD",
    "SECRET",
    "postgresql://shop:change-me-first@db:5432/shop",
    "openssl rand -base64 32",
    "storage.example.com",
    "https://vault.example.com",
    "fake@example.com",
    "-",
]
REFERENCES = [
    "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop-1a2b3c",
    "aws-secrets-manager://shop/db#password",
    "projects/shop/secrets/db/versions/1",
    "prefix-${DB_PASSWORD}",
    "Bearer {{ .token }}",
    "postgres://shop:$(DB_PASSWORD)@db/shop",
    "{env.TOKEN}",
    "@@DB_PASSWORD@@",
    "(@= data.values.db.password @)",
]
CIPHERTEXT = [
    "$ANSIBLE_VAULT;1.1;AES256\n3132333435",
    "-----BEGIN AGE ENCRYPTED FILE-----\nYWdlLWVu\n-----END AGE ENCRYPTED FILE-----",
    "-----BEGIN PGP MESSAGE-----\n\nhQEMA\n-----END PGP MESSAGE-----",
    "ENC[PKCS7,MIIBygYJKoZIhvcNAQcD]",
    "{cipher}AQB3f0a1",
    "vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQQAVZRkFM13ok481zoCmHnSeDX9vyf7w==",
]
PLAIN = [
    ("TZ", "Europe/Berlin"),
    ("LOG_FORMAT", "json"),
    ("GREETING", "Welcome to the shop"),
    ("BIND", "0.0.0.0:8080"),
    ("SMTP_FROM", "shop@example.org"),
    ("RETENTION", "30d"),
    ("SCHEDULE", "0 3 * * *"),
    ("VCAP_SERVICES", '{\n  "credentials": {\n    "uri": "(@= data.values.uri @)"\n  }\n}'),
    ("sshPrivateKey", "-----BEGIN OPENSSH PRIVATE KEY-----\n# the key goes here\n-----END OPENSSH PRIVATE KEY-----\n"),
    ("tls.key", "-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----\n"),
    ("jdbc", "jdbc:mariadb://shop-db:3306/shop"),
    ("plainhostpass", ":PLACEHOLDERPASSWORD@redis"),
    ("bind-dn", "cn=Manager,dc=example,dc=org"),
    ("values.yml", 'git:\n  token: "(@= data.values.github.api_token @)"\n'),
    ("PEER", "db.shop.svc.cluster.local:5432"),
    ("TWILIO_PHONE_NUMBER", "+1234567890"),
    ("TOKEN_LIFETIME", "3600s"),
    ("SECRET_STORAGE_SERVER", "storage.example.org"),
    ("SECRET_VSPHERE_ENDPOINT", "vcenter.shop.internal"),
    ("SEEDBOX_TAILNET_ADDR", "100.127.255.254"),
    ("METRICS_BIND", ":8081"),
    ("FALLBACK_IMAGE_DATA", base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(60)).decode()),
    ("SIGNING_KEY", "-"),
    ("OAUTH_401_WAIT_MS", "60000"),
    ("TOKEN_WAIT_MS", "60000"),
    ("API_KEY_HEADER", "X-API-Key"),
    ("PASSWORD_SECRET_NAME", "shop-db-2"),
    ("PASSIVE_MODE", "ports"),
    ("BYPASS_LIST", "localhost"),
    ("STRIPE_PUBLISHABLE_KEY", "pk_live_51H8abcdefgh1234"),
    ("id_rsa.pub", "ssh-rsa AAAAB3NzaC1yc2E shop"),
    ("config.yaml", "tls:\n  secret: shop-tls\nbypass: a\npassword_file: /run/secrets/db\n"),
    ("config.py", "password = settings.password()\ntoken = sys.argv[1]\n"),
    (".dockerconfigjson", json.dumps({"auths": {"ghcr.io": {"auth": base64.b64encode(b"shop:changeme").decode()}}})),
    (".dockerconfigjson", json.dumps({"auths": {"ghcr.io": {"auth": ""}}})),
]
SECRETS = [
    ("password", "hunter2"),
    ("SEED_PHRASE", "correct horse battery staple"),
    ("SECRET_SERVER", "u8Xq2vPz9LkTw4Rb"),
    ("PASSWORD", "-!"),
    ("PASSWORD", "60000"),
    ("BASIC_AUTH", "hunter2"),
    ("IMAGE_DATA", base64.b64encode(b"\x01" * 40 + b"\x07").decode() + "x9"),
    ("token", "https://shop:hunter2@vault.example.com"),
    ("password", "correct-horse-battery-staple"),
    ("AUTH_PASSWORD_HOST", "hunter2"),
    ("DB_PASS", "shop"),
    ("rootpass", "shop-2024"),
    ("bind-pw", "hunter"),
    ("value", "8f14e45fceea167a5a36dedd4bea2543"),
    ("admin", "hunter2"),
    ("SECRET_NAME", "8f14e45fceea167a5a36dedd4bea2543"),
    ("DATABASE_URL", "postgres://shop:hunter2@db:5432/shop"),
    ("DATABASE_URL", "postgres://shop:hunter2@${DB_HOST}/shop"),
    ("jdbc", "jdbc:mariadb://shop:hunter2@db:3306/shop"),
    ("REDIS_URL", "redis://:hunter2@redis:6379"),
    ("cloud", "[default]\naws_access_key_id=shop\naws_secret_access_key=hunter2\n"),
    ("WEBHOOK_URL", "https://chat.example.org/hooks/T0/B0/abcdef"),
    (".dockerconfigjson", json.dumps({"auths": {"ghcr.io": {"auth": base64.b64encode(b"shop:hunter2").decode()}}})),
    (
        "ssh",
        "-----BEGIN OPENSSH PRIVATE KEY-----\\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\\n-----END OPENSSH PRIVATE KEY-----",
    ),
    ("keys.txt", "AGE-SECRET-KEY-1QQQQ"),
]


@pytest.mark.parametrize("text", PLACEHOLDERS + REFERENCES + CIPHERTEXT)
def test_what_stands_for_a_value_is_none(text: str) -> None:
    assert not is_secret("password", text)


@pytest.mark.parametrize(("key", "text"), PLAIN)
def test_plain_data_is_no_secret(key: str, text: str) -> None:
    assert not is_secret(key, text)


@pytest.mark.parametrize(("key", "text"), SECRETS)
def test_a_secret_is_one(key: str, text: str) -> None:
    assert is_secret(key, text)
