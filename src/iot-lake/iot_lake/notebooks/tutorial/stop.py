# The memory that the application holds on the workers is others' again.
spark.stop()
print("stopped")
