package identity

// KeyOf builds the key of given bits, for the published vectors.
var KeyOf = keyOf
