"""What a holder of root trust has to do with a new root identity."""

from __future__ import annotations

CHECKLIST = """\
Custody checklist for {holder}
  1. Make this identity on a machine without a network, and keep it off every other machine.
  2. Copy {file} to two media of different kinds. Lock them in two places.
  3. Open a cluster identity with each copy once, to see that it works:
     secret-authority check --repository PATH --cluster NAME --root-identity COPY
  4. Erase the file from this machine.
  5. One holder, one identity. For k holders, each makes an identity; any one of them can open a cluster.
     For one identity in several copies, write down who holds which copy.
  6. Only the recipient goes to Git: {recipient}
  7. When a holder leaves: docs/runbooks/retire-a-recipient.md. Their old copies can still read Git's past.
"""


def custody_checklist(holder: str, file: str, recipient: str) -> str:
    return CHECKLIST.format(holder=holder, file=file, recipient=recipient)
