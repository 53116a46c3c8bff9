"""What others call: submit, prolog and epilog programs of the batch systems."""
