# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a module reaches S3. PRIVATE to the collection: no stable interface."""

from __future__ import annotations


class ModuleDocFragment:
    # Names and aliases as in amazon.aws, so that one set of variables serves both.
    DOCUMENTATION = r"""
options:
  access_key:
    description:
      - The access key.
      - Without it, credentials are looked for where every AWS tool does - the E(AWS_ACCESS_KEY_ID),
        E(AWS_SECRET_ACCESS_KEY) and E(AWS_SESSION_TOKEN) variables, O(profile) or E(AWS_PROFILE), web identity
        (E(AWS_WEB_IDENTITY_TOKEN_FILE)), the container's or the instance's role. Those that expire are renewed.
    type: str
    aliases: [aws_access_key, aws_access_key_id]
  secret_key:
    description: The secret key that belongs to O(access_key).
    type: str
    aliases: [aws_secret_key, aws_secret_access_key]
  session_token:
    description: The token of temporary credentials.
    type: str
    aliases: [aws_session_token]
  profile:
    description:
      - A profile in the shared configuration files.
      - Not used when O(access_key) is set.
    type: str
    aliases: [aws_profile]
  region:
    description:
      - The region of the bucket.
      - Without it, E(AWS_REGION), E(AWS_DEFAULT_REGION), then the profile's; S3-compatible servers mostly expect
        V(us-east-1), which is what is used in the end.
    type: str
    aliases: [aws_region]
  endpoint_url:
    description:
      - The URL of an S3-compatible server, for example V(https://minio.example.com:9000).
      - Without it, E(AWS_ENDPOINT_URL_S3), E(AWS_ENDPOINT_URL), then Amazon S3.
    type: str
    aliases: [aws_endpoint_url]
  aws_ca_bundle:
    description:
      - A PEM file with the certificate authorities to trust for O(endpoint_url).
      - Without it, E(AWS_CA_BUNDLE), then the usual authorities.
    type: path
  validate_certs:
    description: Whether to verify the server's certificate. Leave it on; use O(aws_ca_bundle) for an authority of your own.
    type: bool
    default: true
notes:
  - Proxies are taken from E(HTTP_PROXY), E(HTTPS_PROXY) and E(NO_PROXY).
"""
