"""Keys. The only room that holds one, behind a policy that says what may be signed."""
