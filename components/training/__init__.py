"""What every training stage shares: arguments, checkpoints, guards, the policy that is trained."""
