package schemes
