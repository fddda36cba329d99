export { opensshPrivateKey } from "../crypto/openssh-key.ts";
