"""SenML in, readings out: the record, its codecs and its accounting. No I/O."""
