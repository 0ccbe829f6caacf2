"""Events and deposits of other programs, read as they are and checked before anything is made of them."""
