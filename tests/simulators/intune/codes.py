"""The words of the two services: validation codes, revocation error codes, roles, service names, API versions."""

from __future__ import annotations

VALIDATION_CODES = (
    "Success",
    "Unknown",
    "CertificateRequestDecodingFailed",
    "ChallengePasswordMissing",
    "ChallengeDeserializationError",
    "ChallengeDecryptionError",
    "ChallengeDecodingError",
    "ChallengeInvalidTimestamp",
    "ChallengeExpired",
    "SubjectNameMissing",
    "SubjectNameMismatch",
    "SubjectAltNameMissing",
    "SubjectAltNameMismatch",
    "KeyUsageMismatch",
    "KeyLengthMismatch",
    "EnhancedKeyUsageMissing",
    "EnhancedKeyUsageMismatch",
    "AadKeyIdentifierListMissing",
    "RegisteredKeyMismatch",
    "SigningCertThumbprintMismatch",
    "ScepProfileNoLongerTargetedToTheClient",
    "SignatureValidationFailed",
    "BadCertificateRequestIdInChallenge",
    "BadDeviceIdInChallenge",
    "BadUserIdInChallenge",
)

REVOCATION_ERRORS = {
    "None": 0,
    "NonRetryableServiceException": 4000,
    "DataSerializationError": 4001,
    "ParameterDataInvalidError": 4002,
    "CryptographyError": 4003,
    "CertificateNotFoundError": 4004,
    "ConflictError": 4005,
    "NotSupportedError": 4006,
    "PayloadTooLargeError": 4007,
    "RetryableServiceException": 4100,
    "ServiceUnavailableException": 4101,
    "ServiceTooBusyException": 4102,
    "AuthenticationException": 4103,
}
RETRYABLE_FROM = 4100

SCEP_ROLE = "scep_challenge_provider"
GRAPH_ROLE = "Application.Read.All"

INTUNE_APP_ID = "0000000a-0000-0000-c000-000000000000"
INTUNE_RESOURCE = "https://api.manage.microsoft.com/"
GRAPH_RESOURCE = "https://graph.microsoft.com"

SCEP_SERVICE = "ScepRequestValidationFEService"
PKI_SERVICE = "PkiConnectorFEService"
SERVICE_PATHS = {
    SCEP_SERVICE: "RACerts/ScepRequestValidationFEService/Gateway/StatelessScepRequestValidationService",
    PKI_SERVICE: "RACerts/StatelessPkiConnectorService/Gateway/StatelessPkiConnectorService",
}

SCEP_API_VERSION = "2018-02-20"
PKI_API_VERSION = "5019-05-05"

OPERATIONS = (
    "openid-configuration",
    "token",
    "endpoints",
    "validateRequest",
    "successNotification",
    "failureNotification",
    "downloadRevocationRequests",
    "uploadRevocationResults",
)
