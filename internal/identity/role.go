package identity

// Role is a workspace's name for what a person does there, lower-case
// [a-z0-9_]+. Every user has exactly one.
type Role string

// The roles a workspace starts with.
const (
	Nurse           Role = "nurse"
	Doctor          Role = "doctor"
	Staff           Role = "staff"
	Admin           Role = "admin"
	PrivacyReviewer Role = "privacy_reviewer"
)

// Class says which of Mitral's own acts a role may do.
type Class string

// The role classes.
const (
	Clinical       Class = "clinical"
	Office         Class = "office"
	Administration Class = "admin"
	Review         Class = "review"
)

// ACR is the authentication context of a session (OpenID Connect Core §2,
// "acr"): how sure Mitral is of who is at the keyboard. It never says more
// than happened.
type ACR string

// The assurance levels.
const (
	ACREmail            ACR = "email"
	ACRAAL1             ACR = "aal1"
	ACRAAL2             ACR = "aal2"
	ACRPhishingResist   ACR = "phr"
	ACREmergency        ACR = "emergency"
	ACREmergencyClaimed ACR = "emergency-claimed"
)

// Authentication method references (RFC 8176 §2).
const (
	AMRPassword = "pwd"
	AMRPIN      = "pin"
	AMROTP      = "otp"
	AMRHardware = "hwk"
	AMRSoftware = "swk"
	AMRMulti    = "mfa"
)
