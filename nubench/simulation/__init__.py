"""Truth (Geant4 deposits) and detector responses."""
